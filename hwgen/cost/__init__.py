"""What each node kind costs."""
