"""R-MTGB beside other boosted learners, on its synthetic tasks and on real tables."""
