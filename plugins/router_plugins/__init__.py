"""The plugins that come with the router: everything that touches the outside."""
