"""Claims for the refund of VAT on exports."""
