"""Who acts, for whom, and what they may do: context, permission matrix, sessions, limits, headers.

Decisions are made here once; views, REST and jobs ask.
"""
