"""The pages, what draws their pictures, and what checks both."""
