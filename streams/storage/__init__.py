"""What waits on the disk for screening and for the page.

- `store`: instances, beside what is not yet said of them
- `key_images`: what screening drew of a series
- `durable`: files that are whole, and on the disk
"""
