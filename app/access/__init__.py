"""Who makes a request, what they may do and see, and what is noted of it.

In the order of reading: `rules` (what each route asks), `caller` (who asks, and what they see), `keyring` (the keys,
as a process knows them), `door` (who comes in), `signatures` (the other way to say who one is), `limits` over `quota`
(what a minute allows) and `allowances` (what a key may have in all); `keys` makes and revokes keys, `auditing` notes
what administrators do.
"""
