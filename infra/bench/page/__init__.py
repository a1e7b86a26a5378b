"""What the web process costs, by itself: `web` runs one, `readers` are its clients."""
