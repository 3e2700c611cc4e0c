"""HTTP handlers: parse a request, call a service, encode the response."""
