"""Classes of a model: ImageNet's with synonyms and hierarchy, and groups of classes.

`imagenet` has ImageNet's classes and hierarchy, `groups` the groups of a model's classes.
"""

from dvt.labels.groups import GROUPS, ClassGroups, Group, SureOf, default_groups, load_groups

__all__ = ["GROUPS", "ClassGroups", "Group", "SureOf", "default_groups", "load_groups"]
