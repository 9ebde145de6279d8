"""Estimators of options by name, those of `training` among them."""

from unspool import LanguageModel, Training
from unspool.tasks.options import apart


def language_model(**options):
    return apart(LanguageModel, Training, options)
