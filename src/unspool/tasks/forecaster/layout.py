"""stub"""
class Layout: pass
