"""Names are kept out of topics (promise 8).

- `seal`: identity encrypted, under keys that rotate
- `studykey`: keyed pseudonyms of studies and patients
"""
