"""How far a control steers a query: `python -m bench.steering [--json]`.

A query names two aspects ("a red dress in cotton": the colour and the garment). Each aspect comes with documents that
speak of it and not of the other (red things that are no dresses; dresses that are not red). One aspect's words are
given a factor, and the measure is the probability that a document of this aspect then scores above one of the other
(AUC; 0.5 is no effect on average, because both aspects of every query are controlled in turn).

The groups are texts made for this measurement. In each, every document joins two aspects or three out of a few
(colour, garment and occasion; land and subject; animal and food), and no other word of a query speaks of either aspect,
so what is measured is the control, not the rest of the query.

Beside it stand what is kept of the query's relevance (what it still asks for, above documents of neither aspect), how
documents of both aspects fare, and whether a suppressed aspect falls below what the query never asked for. Where the
public collections are at hand, two of their questions are made one query and the same is measured there (`pairs.py`).

The figures depend on that shape. Texts on one topic each, or aspects of unequal weight to the model, are harder to
steer: earlier drafts gave 0.63 and 0.79 (headlines on one topic) and 0.57 and 0.63 (colour against garment only) at
factors 2 and 4. Above all the sign and the course over the factors are worth comparing, less the second digit.
"""
