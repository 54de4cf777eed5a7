"""Random changes of images in training, which labels of pixels follow."""
