"""What is known of a study, pure: `facts` are what senders said, `grouping` says which of them
belong to one reading item, `items` makes its row.
"""
