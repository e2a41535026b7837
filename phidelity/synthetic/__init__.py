"""Textbooks, question sets and conversations made from problems, facts and seed documents."""
