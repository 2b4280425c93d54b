"""The village's database: one writer, many readers, transactions as plain functions."""
