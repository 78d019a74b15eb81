"""Evaluation: accuracies, dream measures, plots. Nothing here feeds the learning."""
