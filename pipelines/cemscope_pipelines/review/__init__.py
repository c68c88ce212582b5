"""A reader's review of a case: decisions, corrections and their measurements.

Nothing here knows a screen: `cemscope review`, the napari plugin and scripts work on
the same `cemscope_pipelines.review.review_session.ReviewSession`.
"""
