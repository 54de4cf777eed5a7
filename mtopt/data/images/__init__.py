"""Images with several labels each: overlapping digits, CIFAR-100, wrong annotators."""
