"""The stack without containers: real Kafka, real PostgreSQL and every service, as
children of one.
"""
