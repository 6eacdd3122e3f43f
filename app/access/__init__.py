"""Authentication, authorization, rate limits and the audit log.

Modules in the order in which to read them: `rules` (the permissions that each route requires), `caller` (the
authenticated caller and the collections it sees), `keyring` (a process's cached copy of the API keys), `door`
(authenticates and authorizes requests), `signatures` (authentication by signed requests), `limits`, built on `quota`
(rate limits per minute), `allowances` (limits on what a key may store), `keys` (creates, rotates and revokes keys) and
`auditing` (the audit log of administrative actions).
"""
