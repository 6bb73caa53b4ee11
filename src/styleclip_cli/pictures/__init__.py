"""Pictures about pictures: sheets, grids, comparisons, heat maps and reports."""
