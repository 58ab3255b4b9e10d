"""What the words mean.  No I/O, no clock: time is an argument, in seconds UTC since 1970."""
