"""Who sends, and what became of it, kept for good: `tables`; `heard` adds up what gateways say
(pure), `keeping` writes it, `silence` says for how long each may be silent, `asking` what is shown.
"""
