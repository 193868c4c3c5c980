"""Measuring a recogniser under attack, under corruption, and on images that show no digit."""
