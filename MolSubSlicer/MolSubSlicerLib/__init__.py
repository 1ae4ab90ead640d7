"""The parts of the module MolSubSlicer: scene code, controllers and panels."""
