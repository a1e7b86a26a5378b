"""What a model is: its folder, its checks, its architecture, its site's thresholds."""
