"""Page, API and live feed over `worklist.sql`.

- `app`: puts them together
- `door`: stands before all routes
- `views`: what persons see; `desk`: what they do
- `api`, `workbench`, `senders`, `parked`: the API, in the shapes of `schema`
- `problems`: how it refuses
- `page_list`, `page_routes`, `page_acts`: the page, in the words of `row_view` and `i18n`
- `live`: tells browsers what changed, and how far the list can be believed
"""
