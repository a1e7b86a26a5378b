"""The roof: how Vigie is run. May import all; nothing imports it.

- `cli`: mounts each part's commands
- `check`: what `vigie check` finds wrong with a site, and with the list
- `settings`: the settings of all processes together
- `demo`: a department's day through the real doors
- `embedded`: the broker and the database that come from pip
- `kafka`: a real Kafka on loopback
- `supervisor`: starts our processes, and starts again what dies
- `processes`: what each child process is given at birth
- `bench`: stages measured beside the libraries that they stand on
- `docs`, `examples`, `grafana`: what is written from the code: pages, the example's image, the
  dashboard
- `site`: the example of a site's folder
"""
