"""Measure how far a control steers a query: `python -m bench.steering [--json]`.

A query names two aspects ("a red dress in cotton": the colour and the garment). Each aspect has documents that mention
it and not the other (red things that are no dresses; dresses that are not red). One aspect's words are given a factor,
and the measure is the probability that a document of this aspect then scores above one of the other (AUC; 0.5 is no
effect on average, because both aspects of every query are controlled in turn).

The groups are texts written for this measurement. In each, every document combines two or three of a few aspects
(colour, garment and occasion; land and subject; animal and food), and no other word of a query refers to either aspect,
so the measure reflects the control and not the rest of the query.

Also reported: how much of the query's relevance is kept (what it still asks for, above documents of neither aspect),
how documents of both aspects score, and whether a suppressed aspect falls below what the query never asked for. Where
the public collections are available, two of their questions are joined into one query and the same is measured
(`pairs.py`).

The figures depend on the texts. Texts on one topic each, or aspects of unequal weight to the model, are harder to
steer: earlier drafts gave 0.63 and 0.79 (headlines on one topic) and 0.57 and 0.63 (colour against garment only) at
factors 2 and 4. Compare the sign and the trend over the factors rather than the second digit.
"""
