"""What Grafana is given: a datasource, and the dashboard that `build` writes of its `panels`."""
