"""The process: events in, series through their packages, findings out. Read process, intake,
series.
"""
