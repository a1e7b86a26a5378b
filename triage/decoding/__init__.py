"""From stored files to frames, in limited processes of their own that hold no torch.

Here: `pool` (starts decoder processes and replaces those that die), `protocol` and `limits`
(what both sides share), `frames` (what comes out). In the decoder process: `child`,
`series` (the whole way of one series), `image_header` (what a header claims), `geometry` (how a
frame lies), `stacks/` (which frames, in which order, averaged how, and what was read of them),
`pixel_element` (how many frames there are), `stored` (codecs) and `native` (no codec),
`pixels` and `reduction` (stored values to Hounsfield units or display values), `body` (whether
these can be), `outline` (how large the body is, and whether a skull is seen).
"""
