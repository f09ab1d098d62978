"""What clients send that none should: drawn from the contract, and wronged byte by byte."""
