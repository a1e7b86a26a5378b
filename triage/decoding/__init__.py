"""From stored files to frames, in limited processes of their own that hold no torch.

Here: `pool` (starts decoder processes and replaces those that die), `protocol` and `limits`
(what both sides share), `frames` (what comes out). In the decoder process: `child`,
`image_header` (what a header claims), `slices` (which frames, in which order), `stored` (codecs),
`pixels` and `reduction` (stored values to Hounsfield units or display values).
"""
