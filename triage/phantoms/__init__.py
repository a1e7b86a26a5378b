"""Images that we drew ourselves: heads, films, and what is none of them."""
