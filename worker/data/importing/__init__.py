"""Imports a user's images as a dataset: ``python -m worker.data.importing DATASETS_FOLDER IMPORT_ID``.

A source (folder, archive, table or array file) is listed into a `Catalog`; reader processes decode its images into a
`Draft`; an `Arrangement` applies the user's choices to it; from both come the report and the dataset's version folder.
"""
