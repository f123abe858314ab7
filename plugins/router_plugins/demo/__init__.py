"""`router demo`: emulator, router and destinations on this machine, and a reckoning at the end."""
