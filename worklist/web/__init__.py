"""Page, API and live feed over `sql`: `app` puts them together, `door` stands before all routes.

`desk` does what readers ask of the list. `api` and `page_routes` are its two faces: JSON in the
shapes of `schema`, and HTML in the words of `row_view` and `i18n`. `live` tells browsers what
changed, and how far the list can be believed.
"""
