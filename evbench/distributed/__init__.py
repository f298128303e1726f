"""One variant on several devices: torch's launcher, ranks with a part of the samples each, and one result of all of them."""
