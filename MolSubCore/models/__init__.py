"""Architectures, model bundles and their cards, ImageNet and published weights."""
