"""Rate limits: when a tenant may send, and how its limit is found where the server does not state it.

A call waits in the queue (:mod:`queue`) until its tenant's pace and a connection allow it. The pace is decided by the
limiter (:mod:`limiter`, which begins with the theory), from what the caller gives, from what the server's headers state
(:mod:`headers`, :mod:`advertised`), and from what it admits and refuses: the evidence (:mod:`evidence`), what may limit
(:mod:`hypotheses`), what to try next (:mod:`search`) and when to probe (:mod:`lockouts`). A 503 may be a limiter's
refusal, too (:mod:`unavailable`). Processes can share a pace: each has its part (:mod:`shared_pace`), and one of them
decides (:mod:`pace_leader`).
"""
