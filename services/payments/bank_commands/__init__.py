"""Commands to the bank: what is sent, what is replied, and what a person settles."""
