"""The AMI client: messages, accounts, the connection to Asterisk's manager interface."""
