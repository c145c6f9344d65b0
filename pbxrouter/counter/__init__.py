"""The call counter: calls as AMI events tell of them."""
