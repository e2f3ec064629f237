"""`terrace link doctor`: what keeps a device from its region, one check after the other, and what to do about it."""
