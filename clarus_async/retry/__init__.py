"""Retries: what a failed attempt proves, and whether and when the request is sent again.

* :mod:`.effect`: the table that decides what the result of an attempt proves, and what follows;
* :mod:`.policy`: how often and how late a request is sent again, in tenacity's terms;
* :mod:`.backoff`, :mod:`.budget`, :mod:`.deadline`: what the policy is made of;
* :mod:`.call_error`: the error of a call that failed;
* :mod:`.circuit_breaker`: how a run probes a server that fails.

Nothing here sends anything: :mod:`clarus_async.calls.caller` does.
"""
