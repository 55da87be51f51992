"""Between a host and a design: a serial line with frames, and registers of status and control."""
