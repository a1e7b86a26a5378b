"""Page, API and live feed: FastAPI over sql."""
