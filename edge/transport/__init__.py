"""HTTP between villages: TLS, signed requests, problem documents, the client."""
