"""What the list tells others: today what persons did, to the topic `acts`."""
