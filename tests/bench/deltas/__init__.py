"""Parts of `make bench NAME=delta`: networks, their trainings, the forms they are released in, and the rivals."""
